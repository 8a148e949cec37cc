"""`bongsu doctor`: looks at an installation from outside, and says of each thing whether it is well, and if not what to
do. It changes nothing, sends no report and no text, and prints no secret.
"""

from bongsu.receiver.doctor.examine import examine
from bongsu.receiver.doctor.finding import FAIL, OK, WARN, Finding

__all__ = ["FAIL", "OK", "WARN", "Finding", "examine"]
