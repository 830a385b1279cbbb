"""Seeds in, verified samples out: one stage a file, `flow.py` chains them.

instructions -> verifiers -> evidence -> crossval -> backtranslate -> queries
  -> responses -> judge -> rows
"""
