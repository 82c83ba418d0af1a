"""Where a call can go in the plan of the tests (config/extensions.conf), and how the wire tells."""

OWN_PLAN = 410  # the PBX's own plan: nobody was responsible
REDIRECTED = 484  # extension 8000
FELL_BACK = 502  # extension 8001

DID = "4930777100"
DID_ANSWERED = "4930777101"  # the own plan answers and hangs up
DID_RECEPTION = "4930777102"  # the own plan rings 103
DID_SHORT = "4930777200"  # the own plan has a time-out of 1 s, and 484 for its end
DID_LONG = "4930777201"  # the own plan has a time-out of 30 s
