"""Diagnostics: what is wrong with a verifier, before anything is believed of it.

`diagnose` gives flags and scores for one verifier, `diagnose_file` for a file of them.
"""

from autoif.diagnose.core import CheckDiagnosis as CheckDiagnosis
from autoif.diagnose.core import Diagnosis as Diagnosis
from autoif.diagnose.core import diagnose as diagnose
from autoif.diagnose.file import diagnose_file as diagnose_file
from autoif.diagnose.judge import FLAGS as FLAGS
