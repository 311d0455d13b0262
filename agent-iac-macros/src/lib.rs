//! The derive macros of agent-iac.
