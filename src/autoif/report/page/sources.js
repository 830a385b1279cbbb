// Where the data of the page is: in the page itself, or on the server that it came from. Both answer
// the same three questions: runs, a page of rows, a record.

async function unpacked(id) {
  const packed = document.getElementById(id).textContent.trim();
  if (!packed) return null;
  const bytes = Uint8Array.from(atob(packed), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

class FileSource {
  constructor(data) {
    this.data = data;
    this.served = false;
    this.texts = new WeakMap();
  }

  async runs() {
    return { version: 1, runs: this.data.runs.map((run) => run.summary) };
  }

  async rows(run, name, query) {
    const { tables, records } = this.data.runs[run];
    const all = (tables[name] ?? []).map((id) => records[name][id]);
    const rows = all.filter((row) => this.fits(row, query));
    if (query.sort) rows.sort(inOrder(query.sort, query.desc));
    const offset = query.offset ?? 0;
    return { total: rows.length, rows: rows.slice(offset, offset + (query.limit ?? 50)) };
  }

  fits(row, query) {
    for (const [column, value] of Object.entries(query.eq ?? {})) {
      const own = String(row[column]);
      if (own !== value && !own.split(",").includes(value)) return false;
    }
    for (const [column, bound] of Object.entries(query.min ?? {})) {
      if (row[column] === null || !(row[column] >= bound)) return false;
    }
    for (const [column, bound] of Object.entries(query.max ?? {})) {
      if (row[column] === null || !(row[column] <= bound)) return false;
    }
    return !query.q || this.searched(row).includes(query.q.toLowerCase());
  }

  // What is searched of a row: the same texts as on the server.
  searched(row) {
    let found = this.texts.get(row);
    if (found === undefined) {
      const whole = row.row ?? {};
      const parts = [row.record ?? row.id, row.detail, whole.text, whole.response];
      for (const name of ["messages", "prompt", "chosen", "rejected"]) {
        const value = whole[name];
        if (Array.isArray(value)) parts.push(...value.map((message) => message.content));
        else parts.push(value);
      }
      for (const answer of whole.responses ?? []) parts.push(answer);
      found = parts.filter((part) => typeof part === "string").join("\n").toLowerCase();
      this.texts.set(row, found);
    }
    return found;
  }

  async record(run, name, id) {
    const { records, calls } = this.data.runs[run];
    const record = records[name]?.[id];
    if (!record) throw new Error(`${name} ${id} is not in this file`);
    return { ...record, calls: record.calls.map(([key, of]) => ({ ...calls[key], of })) };
  }

  async comparison(a, b) {
    return this.data.comparisons?.[`${a}-${b}`] ?? null;
  }
}

function inOrder(column, descending) {
  const sign = descending ? -1 : 1;
  return (a, b) => {
    const [x, y] = [a[column], b[column]];
    if (x === y) return 0;
    if (x === null || x === undefined) return 1;
    if (y === null || y === undefined) return -1;
    return (x < y ? -1 : 1) * sign;
  };
}

class ServerSource {
  constructor() {
    this.served = true;
    const given = /^#token=([\w-]+)$/.exec(location.hash);
    if (given) {
      localStorage.setItem("token", given[1]);
      history.replaceState(null, "", "#/");
    }
    this.token = localStorage.getItem("token") ?? "";
  }

  async ask(path, body) {
    const answer = await fetch(`/api/${path}`, {
      method: body ? "POST" : "GET",
      headers: { Authorization: `Bearer ${this.token}` },
      body: body ? JSON.stringify(body) : undefined,
    }).catch(() => {
      throw new Error("`autoif view` does not answer. Start it again, and open the address that it prints.");
    });
    const value = await answer.json();
    if (!answer.ok) throw new Error(value.error ?? `status ${answer.status}`);
    return value;
  }

  runs() {
    return this.ask("runs");
  }

  rows(run, name, query) {
    const asked = new URLSearchParams();
    if (query.q) asked.set("q", query.q);
    if (query.sort) asked.set("sort", query.sort);
    if (query.desc) asked.set("desc", "1");
    asked.set("offset", query.offset ?? 0);
    asked.set("limit", query.limit ?? 50);
    for (const kind of ["eq", "min", "max"]) {
      for (const [column, value] of Object.entries(query[kind] ?? {})) asked.set(`${kind}.${column}`, value);
    }
    return this.ask(`${run}/${name}?${asked}`);
  }

  record(run, name, id) {
    return this.ask(`${run}/${name}/${encoded(id)}`);
  }

  comparison(a, b) {
    return this.ask(`compare?a=${a}&b=${b}`);
  }

  review(run, asked) {
    return this.ask(`${run}/review?${new URLSearchParams(asked)}`);
  }

  mark(run, mark) {
    return this.ask(`${run}/review`, mark);
  }
}
