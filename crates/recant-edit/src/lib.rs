//! An edit is a value: facts, editors, plans, and the three ways to hold an edited model
