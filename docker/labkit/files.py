"""The static files that every PoP serves. Deterministic, and no part equals another, so that a wrong offset changes the sum."""
import hashlib
import os
import random

SIZES = {"1k": 1 << 10, "1m": 1 << 20, "100m": 100 << 20, "1g": 1 << 30}
MODIFIED = 1767225600  # the same at every PoP and in every lab: nginx makes the ETag of time and size
BLOCK = 1 << 20


def parts(size):
    """The content, a megabyte at a time: block k is one pseudo-random megabyte rotated by k * 4099."""
    base = memoryview(random.Random(2026).randbytes(BLOCK) * 2)
    for k in range((size + BLOCK - 1) // BLOCK):
        shift = k * 4099 % BLOCK
        yield base[shift:shift + min(BLOCK, size - k * BLOCK)]


def directory(state):
    return state.data / "files"


def make(state):
    target = directory(state)
    target.mkdir(parents=True, exist_ok=True)
    for name, size in SIZES.items():
        with open(target / name, "wb", buffering=0) as file:
            for part in parts(size):
                file.write(part)
        os.utime(target / name, (MODIFIED, MODIFIED))


def sha256(size):
    """Of the first `size` bytes; every file is a prefix of the largest."""
    digest = hashlib.sha256()
    for part in parts(size):
        digest.update(part)
    return digest.hexdigest()
