"""One file per verb: parse, call, print. Files with an underscore are shared by the verbs."""
