//! Datasets, scorers, the evaluation runner and its reports
