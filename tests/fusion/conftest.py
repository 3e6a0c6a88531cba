import importlib.util
import sys
from pathlib import Path

# importlib import mode keeps test folders off sys.path: the maker beside these tests is loaded by its file.
spec = importlib.util.spec_from_file_location("fusion_bursts", Path(__file__).with_name("made.py"))
module = importlib.util.module_from_spec(spec)
sys.modules["fusion_bursts"] = module
spec.loader.exec_module(module)
