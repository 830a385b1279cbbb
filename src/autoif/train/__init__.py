"""data -> weights. torch, transformers and TRL live here, imported when used."""
