"""Measurements of speed. Ratios of one run mean something anywhere; times belong to the machine."""

import simulator as simulator
