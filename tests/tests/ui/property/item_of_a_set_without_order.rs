// errors: 1
use agent_iac::prelude::*;

use std::collections::BTreeSet;

#[derive(Clone, Debug, PartialEq, Eq, Property)]
enum Action {
    Select,
}

#[derive(Clone, Debug, PartialEq, Property)]
struct Actions {
    allow: BTreeSet<Action>,
}

fn main() {}
