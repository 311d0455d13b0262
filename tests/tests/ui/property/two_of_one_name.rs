// errors: 1
use agent_iac::prelude::*;

#[derive(Clone, Debug, PartialEq, Property)]
enum Action {
    Select,
    #[property(rename = "select")]
    Read,
}

fn main() {}
