"""How good predictions are: competition mAP, COCO AP, the LIVECell protocol, F1, confusion of types, intervals."""
