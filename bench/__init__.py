"""Measurements of speed. Ratios of one run mean something anywhere; times belong to the machine."""

import sys
from pathlib import Path

import simulator as simulator

# The remote access server's package is installed nowhere: its image gets a copy.
sys.path.append(str(Path(__file__).resolve().parents[1] / "addon"))
