"""Rows to weights: SFT, DPO, self-play, GRPO. torch and TRL live here, imported when used."""
