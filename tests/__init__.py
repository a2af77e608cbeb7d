"""Tests, and the emulator that they run on."""
