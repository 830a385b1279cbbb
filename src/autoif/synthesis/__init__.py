"""seeds in, verified samples out. One stage a file; `flow.py` chains them.

instructions -> verifiers -> evidence -> crossval -> backtranslate -> queries
  -> responses -> judge -> rows
"""
