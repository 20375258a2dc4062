"""Page: the gates over a training, beside other trainings, and at the marked step."""

from dashboard import curves, frame

frame.of_photograph("Gates over the training", curves.show, frame.needs_gates)
