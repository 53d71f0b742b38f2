import sys

from ceph_msgr.testing.simulator.command import main

if __name__ == "__main__":
    sys.exit(main())
