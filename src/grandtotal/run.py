from grandtotal.coordinate import *  # noqa
from grandtotal.runfolder import *  # noqa
