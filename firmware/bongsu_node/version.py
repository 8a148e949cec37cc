"""Version and build time of the firmware."""

MAJOR = 0
MINOR = 1
TEXT = "0.1.0"
# 2026-07-01 00:00:00 UTC, seconds since 1970; raised with each release. The clock of a node never starts before it.
BUILD_S = 1_782_864_000
