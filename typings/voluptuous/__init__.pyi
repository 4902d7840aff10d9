# Home Assistant puts probatio in place of voluptuous before anything imports it.
from probatio import *
