// errors: 1
use agent_iac::prelude::*;

#[derive(Clone, Debug, PartialEq, Property)]
enum Action {
    Select,
    Insert(u32),
}

fn main() {}
