"""What a command that trains may do to its own process, and a library to nobody's."""

from __future__ import annotations

import contextlib
import ctypes
import os

PLENTY = 16 * 10**9  # bytes of memory


def own_training_process() -> None:
    """Without the training libraries' bars and advice, and on a CPU with a malloc that keeps what
    is freed. Needs the extra `train`."""
    import datasets
    import torch
    import transformers

    datasets.disable_progress_bars()
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    if not torch.cuda.is_available():
        _keep_memory()


def _keep_memory() -> None:
    """By itself glibc's malloc maps every large tensor anew and gives it back, and the kernel's
    zeroing of those pages is up to half of a step's time on a CPU (`benchmarks/train.py`, step). In
    return the process is about twice as large while it trains, so this is done only where there is
    plenty."""
    if os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < PLENTY:
        return
    trim_threshold, top_pad, mmap_max = -1, -2, -4
    with contextlib.suppress(AttributeError):  # other C libraries have no such call
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(mmap_max, 0)
        mallopt(trim_threshold, -1)
        mallopt(top_pad, 256 * 2**20)
