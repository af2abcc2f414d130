"""The verbs of the command line, one file each: parse, call, print. The verbs share the files whose names begin with an underscore."""
