// errors: 1
use agent_iac::prelude::*;

#[derive(Clone, Debug, PartialEq, Property)]
enum Action {
    #[property(renam = "read")]
    Select,
}

fn main() {}
