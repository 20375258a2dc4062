"""Page: does attention lie where the prediction of an object comes from?"""

from dashboard import attributed, frame

frame.of_photograph("Attribution", attributed.show, frame.needs_attention_maps)
