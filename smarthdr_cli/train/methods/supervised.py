"""Labels alone: unlabelled bursts are left aside. The baseline of the other methods."""

from smarthdr_cli.data.crops import Crops
from smarthdr_cli.train.methods.base import Method, Target
from smarthdr_cli.train.optical_flow import Flows
from smarthdr_cli.train.pseudo_labels import Pseudo


class Supervised(Method):
    """No unlabelled scene is opened."""

    uses_unlabeled = False
    uses_teacher = False

    @property
    def first_unlabeled(self) -> int:
        """After the end of the run."""
        return self.config.iterations

    def targets(self, crops: Crops, pseudo: Pseudo | None, flows: Flows | None) -> Target | None:
        """Unlabelled crops teach nothing."""
        return None
