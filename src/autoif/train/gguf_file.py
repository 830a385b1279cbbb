"""A trained model as a GGUF file, for the embedded engine and llama.cpp.

Tokenizer and settings are copied from the GGUF file that the student came from; the weights are the
trained ones, matrices as Q8_0 (8 bits and a scale for 32 weights: next to no loss), vectors as they
are. On a CPU the embedded engine answers several times faster from it than transformers does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from autoif.base.errors import UsageError
from autoif.base.files import in_place_of

ARCHITECTURES = ("llama", "qwen2")


def write_gguf(model: Path, origin: Path, out: Path) -> Path:
    """Writes the weights of the Hugging Face directory `model` in the frame of the GGUF `origin`;
    returns `out`. Raises UsageError where the two are not of one shape or of another family."""
    import gguf
    from safetensors import safe_open

    reader: Any = gguf.GGUFReader(str(origin))
    family = reader.fields["general.architecture"].contents()
    if family not in ARCHITECTURES:
        raise UsageError(f"{origin}: its architecture {family!r} is not one of {ARCHITECTURES}")
    heads = int(reader.fields[f"{family}.attention.head_count"].contents())
    kv_heads = int(reader.fields[f"{family}.attention.head_count_kv"].contents())
    layers = int(reader.fields[f"{family}.block_count"].contents())
    names = gguf.get_tensor_name_map(getattr(gguf.MODEL_ARCH, family.upper()), layers)
    shapes = {t.name: tuple(int(n) for n in reversed(t.shape)) for t in reader.tensors}

    with in_place_of(out) as partial:
        writer = gguf.GGUFWriter(partial, arch=family)
        for field in reader.fields.values():
            if field.name.startswith("GGUF.") or field.name == "general.architecture":
                continue
            if field.name == "general.file_type":
                writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
                continue
            kind, *inner = field.types
            writer.add_key_value(field.name, field.contents(), kind, inner[-1] if inner else None)

        written = set()
        for file in sorted(model.glob("*.safetensors")):
            with safe_open(file, framework="pt") as tensors:
                for key in tensors.keys():  # noqa: SIM118 - not a mapping
                    name = names.get_name(key, try_suffixes=(".weight", ".bias"))
                    weights = tensors.get_tensor(key).float().numpy()
                    if name == "output.weight" and name not in shapes:
                        continue  # tied to the embeddings
                    if shapes.get(name) != weights.shape:
                        raise UsageError(f"{model}: its {key} does not fit {origin}")
                    if family == "llama" and key.endswith(("q_proj.weight", "k_proj.weight")):
                        weights = _interleaved(weights, heads if "q_proj" in key else kv_heads)
                    if weights.ndim == 1:
                        writer.add_tensor(name, weights)
                    else:
                        kind = gguf.GGMLQuantizationType.Q8_0
                        writer.add_tensor(name, gguf.quants.quantize(weights, kind), raw_dtype=kind)
                    written.add(name)
        if missing := sorted(shapes.keys() - written):
            raise UsageError(f"{model}: no weights for {missing[0]} of {origin}")
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
    return out


def _interleaved(weights: Any, heads: int) -> Any:
    """GGUF keeps the two halves of a llama's rotary pairs side by side, Hugging Face apart."""
    rows, columns = weights.shape
    halves = weights.reshape(heads, 2, rows // heads // 2, columns)
    return halves.swapaxes(1, 2).reshape(rows, columns)
