"""Everything that a person launches: thin programs, and the only code that reads flags."""
