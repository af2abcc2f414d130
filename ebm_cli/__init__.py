"""ebm: a config-driven command-line experiment runner for energy-based models, p(x) = exp(-E(x)) / Z."""
