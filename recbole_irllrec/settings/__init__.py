"""Our models' settings: `schemas` says what there is, `sources` where values come from."""
