"""The `run_recbole` command as a script, for a checkout: python run_recbole_irllrec.py --dataset=ml-100k"""

import sys

from recbole_irllrec.cli.run_recbole import main

if __name__ == "__main__":
    sys.exit(main())
