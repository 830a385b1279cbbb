"""What is wrong with a verifier: texts to try it on, flags.

`diagnose` gives flags and scores for one verifier, `diagnose_file` for a file of them.
"""

from autoif.diagnosis.core import CheckDiagnosis as CheckDiagnosis
from autoif.diagnosis.core import Diagnosis as Diagnosis
from autoif.diagnosis.core import diagnose as diagnose
from autoif.diagnosis.file import diagnose_file as diagnose_file
from autoif.diagnosis.flags import FLAGS as FLAGS
