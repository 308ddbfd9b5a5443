"""From a model to a decision, at home: nothing here can be sent."""
