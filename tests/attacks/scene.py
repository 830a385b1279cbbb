"""Where attacks are judged: a sandbox, two good neighbours, and what an escape would disturb.

The host process is made a subreaper, so that whatever daemonises inside comes back as its child and
is seen. Files that attacks want to make all start with `autoif-attack`.
"""

from __future__ import annotations

import ctypes
import glob
import os
import re
import secrets
import signal
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from autoif.base.records import Outcome, Status
from autoif.sandbox import Limits, Sandbox
from autoif.sandbox.allowlist import profile_of

from .corpus import Attack

LIMITS = Limits(cpu_seconds=0.25, wall_seconds=1.0, total_seconds=3.0, memory_mb=128, strikes=1)
BOUND_SECONDS = 15.0  # one attack, start of a fresh zygote included, on a machine with other work
DETAIL_BOUND = 10_000  # characters; a detail is a message, not a channel
RSS_BOUND_KB = 700_000

NEIGHBOUR = """
import collections, json, math, re, string
NOTE = "@CANARY@"
WORD = re.compile(r"[^\\W\\d_]+")

def evaluate(response):
    words = [word.lower() for word in WORD.findall(response)]
    common = collections.Counter(words).most_common(3)
    state = json.dumps([sorted(set(words)), common, math.isqrt(len(response)), len(NOTE)])
    spread = [hash(word) for word in {"alpha", "beta", "gamma"}]
    if "raise" in words:
        raise ValueError(f"{NOTE} {state[:40]} {spread} {float('1e3'):.1f}")
    if "nonsense" in words:
        return state
    return hash(state + string.ascii_letters) % 2 == 0
"""
# What a function imports decides which zygote serves it: a neighbour lives beside each.
BESIDE = {
    "core": "", "stdlib": "import ast, statistics, difflib\n", "text": "import regex, numpy\n"
}  # fmt: skip
EVERYWHERE = 10  # so often all neighbours are asked, not only those whom the attack came near
NEIGHBOUR_TEXTS = ("A quick brown fox", "raise the flag", "nonsense", "", "Straße 世界 @CANARY@")


@dataclass
class Trial:
    """What one attack came to. `breaches` names each promise that was broken."""

    attack: str
    verdicts: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)
    breaches: list[str] = field(default_factory=list)
    seconds: float = 0.0


def descendants(root: int) -> dict[int, tuple[int, bool]]:
    """Processes below `root`, as id: (parent's id, is a zombie)."""
    processes: dict[int, tuple[int, bool]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path("/proc", entry, "stat").read_bytes()
            except OSError:
                continue
            state, parent = stat.rpartition(b")")[2].split()[:2]
            processes[int(entry)] = (int(parent), state == b"Z")
    below: set[int] = set()
    fresh = {root}
    while fresh:
        fresh = {pid for pid, (parent, _) in processes.items() if parent in fresh} - below
        below |= fresh
    return {pid: processes[pid] for pid in below}


def profiles_of(source: str) -> set[str]:
    """Of the workers that may come to serve it: whichever has a module that it names anywhere."""
    return {"core", *filter(None, map(profile_of, re.findall(r"\w+", source)))}


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


class Scene:
    """`with Scene(folder) as scene: scene.trial(attack).breaches`: empty where the sandbox held."""

    def __init__(self, folder: Path) -> None:
        self.canary = "CANARY-" + secrets.token_hex(16)
        self.neighbour = NEIGHBOUR.replace("@CANARY@", self.canary)
        self.texts = [text.replace("@CANARY@", self.canary) for text in NEIGHBOUR_TEXTS]
        self.folder = folder / "watched"
        self.folder.mkdir(mode=0o777)
        self.folder.chmod(0o777)
        self.victim = self.folder / "victim.txt"
        self.victim.write_text(self.canary)
        self.victim.chmod(0o666)

    def __enter__(self) -> Scene:
        os.environ["AUTOIF_TEST_API_KEY"] = self.canary
        self._reap_orphans(True)
        self._workers: set[int] = set()
        self._before = (self._family(), open_descriptors())
        with Sandbox(workers=1, limits=LIMITS) as alone:
            self._expected = {
                profile: alone.evaluate(beside + self.neighbour, self.texts)
                for profile, beside in BESIDE.items()
            }
        self.expected = self._expected["core"]
        assert {o.status for o in self.expected} > {Status.ERROR}, self.expected
        self.sandbox = Sandbox(workers=1, limits=LIMITS)
        assert self._neighbours(BESIDE) == self._expected
        self._trials = 0
        self._size = len(self._family())
        self._descriptors = open_descriptors()
        self._host = self._host_state()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.sandbox.close()
        self._reap_orphans(False)
        os.environ.pop("AUTOIF_TEST_API_KEY", None)

    def trial(self, attack: Attack) -> Trial:
        """Run the attack on the worker that a good neighbour was just served by, and then the
        neighbour again (who is also the one before the next attack there)."""
        trial = Trial(attack.name)
        start = time.monotonic()
        try:
            self._attack(trial, attack)
            self._trials += 1
            near = BESIDE if self._trials % EVERYWHERE == 0 else profiles_of(attack.source)
            for profile, outcomes in self._neighbours(near).items():
                if outcomes != (expected := self._expected[profile]):
                    trial.breaches.append(f"the neighbour: {outcomes} is not {expected}")
        except Exception as error:
            trial.breaches.append(f"the sandbox raised {type(error).__name__}: {error}"[:500])
        trial.seconds = time.monotonic() - start
        if trial.seconds > BOUND_SECONDS:
            trial.breaches.append(f"took {trial.seconds:.1f} s")
        self._residue(trial)
        return trial

    def leftovers(self) -> list[str]:
        """Ask all neighbours once more and close the sandbox; what is wrong then, in words."""
        left = [] if self._neighbours(BESIDE) == self._expected else ["a neighbour who is changed"]
        self.sandbox.close()
        family, descriptors = self._before
        left += [f"process {pid}" for pid in self._settled(len(family)) - family]
        if open_descriptors() > descriptors:
            left.append(f"{open_descriptors() - descriptors} descriptors")
        return left

    def _neighbours(self, profiles: Iterable[str]) -> dict[str, list[Outcome]]:
        return {
            profile: self.sandbox.evaluate(BESIDE[profile] + self.neighbour, self.texts)
            for profile in profiles
        }

    def _attack(self, trial: Trial, attack: Attack) -> None:
        for run in range(attack.runs):
            self._run(trial, attack, attack.armed(str(self.victim), os.getpid(), run))

    def _run(self, trial: Trial, attack: Attack, source: str) -> None:
        if attack.function == "comply":
            changed = self.sandbox.transform(source, list(attack.texts))
            outcomes = [Outcome(c.status, c.detail) for c in changed]
            for c in changed:
                # An exact str: a subclass's methods would be the attacker's code in our process.
                if c.status is Status.TRUE and type(c.text) is not str:
                    trial.breaches.append(f"a transformed text is {type(c.text).__name__}")
        else:
            outcomes = self.sandbox.evaluate(source, list(attack.texts))
        trial.verdicts = [o.status.name for o in outcomes]
        trial.details = [str(o.detail)[:300] for o in outcomes]
        if len(outcomes) != len(attack.texts):
            trial.breaches.append(f"{len(outcomes)} verdicts for {len(attack.texts)} texts")
        for outcome in outcomes:
            if outcome.status in attack.never:
                trial.breaches.append(f"verdict {outcome.status.name}: it got through")
            if type(outcome.detail) is not str or len(outcome.detail) > DETAIL_BOUND:
                trial.breaches.append("detail is no short string")

    def _residue(self, trial: Trial) -> None:
        if len(family := self._settled(self._size)) > self._size:
            trial.breaches.append(f"{len(family)} processes, not {self._size}")
        if open_descriptors() > self._descriptors:
            trial.breaches.append(f"{open_descriptors() - self._descriptors} descriptors leaked")
        if self._host_state() != self._host:
            trial.breaches.append("the host changed: files, environment, directory or handlers")
            self._host = self._host_state()
        resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")
        if resident // 1024 > RSS_BOUND_KB:
            trial.breaches.append(f"the parent holds {resident >> 20} MiB")

    def _settled(self, wanted: int) -> set[int]:
        """The family, after a moment's grace for those just killed."""
        deadline = time.monotonic() + 2
        while len(family := self._family()) > wanted and time.monotonic() < deadline:
            time.sleep(0.02)
        return family

    def _family(self) -> set[int]:
        """Our descendants. Orphans that came to us and are dead are buried here, as init would; a
        worker of our own (it has, or had, a child) that is dead and not waited for is a leak."""
        family = descendants(os.getpid())
        self._workers |= {parent for parent, _ in family.values()} - {os.getpid()}
        for pid, (parent, dead) in list(family.items()):
            if dead and parent == os.getpid() and pid not in self._workers:
                os.waitpid(pid, os.WNOHANG)
                del family[pid]
        return set(family)

    def _host_state(self) -> tuple[object, ...]:
        places = ("/tmp", "/dev/shm", "/var/tmp", ".", "/", tempfile.gettempdir(), self.folder)
        try:
            victim: object = (self.victim.read_text(), self.victim.stat().st_mode)
            mtime = self.victim.stat().st_mtime_ns
        except OSError as error:
            victim, mtime = str(error), 0
        return (
            sorted(os.listdir(self.folder)) if self.folder.is_dir() else None,
            [sorted(glob.glob(f"{place}/autoif-attack*")) for place in places],
            (victim, mtime),
            os.getcwd(),
            {k: v for k, v in os.environ.items() if k != "PYTEST_CURRENT_TEST"},
            [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)],
        )

    @staticmethod
    def _reap_orphans(on: bool) -> None:
        pr_set_child_subreaper = 36
        ctypes.CDLL(None).prctl(pr_set_child_subreaper, int(on), 0, 0, 0)
