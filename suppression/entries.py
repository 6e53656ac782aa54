"""The list of what forbids mail: ask it, add to it, lift from it, forget a person in it."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import batched
