//! What a batch costs: a number of requests that does not grow with it.

use agent_iac_tests::on_each_version;

use super::*;

on_each_version![a_batch_costs_the_same_number_of_requests_whatever_its_size];

async fn a_batch_costs_the_same_number_of_requests_whatever_its_size(cluster: &'static Cluster) {
    let world = World::new(cluster, "requests", &[]).await;
    // The connection, and the registry.
    for first in ["@_first", "@_second"] {
        world.role(first).await;
    }
    let mut costs: Vec<[u64; 3]> = Vec::new();
    for many in [5, 200] {
        let begun = world.provider.requests();
        let roles: Vec<WriteRequest> = (0..many)
            .map(|n| {
                let mut role = pg::Role::builder();
                role.name(format!("requests_{many}_{n}"));
                world.create::<pg::Role>(&role)
            })
            .collect();
        let roles: Vec<Object> = world
            .batch::<pg::Role>(roles)
            .await
            .into_iter()
            .map(|written| written.unwrap().object.unwrap())
            .collect();
        let made = world.provider.requests();
        let on = |n: usize| match n % 3 {
            0 => pg::Schema::new("app"),
            1 => pg::Function::new("app", "f0", ["integer"]),
            _ => pg::Table::new("app", "t0"),
        };
        let allow = |n: usize| match n % 3 {
            0 => pg::Usage,
            1 => pg::Execute,
            _ => pg::Select,
        };
        let grants = roles
            .iter()
            .enumerate()
            .map(|(n, role)| world.create::<pg::Grant>(&grant(role, on(n), &[allow(n)])));
        let grants: Vec<Object> = world
            .batch::<pg::Grant>(grants.collect())
            .await
            .into_iter()
            .map(|written| written.unwrap().object.unwrap())
            .collect();
        let given = world.provider.requests();
        let taken = grants.iter().map(|grant| world.delete(grant)).collect();
        for written in world.batch::<pg::Grant>(taken).await {
            assert_eq!(written.unwrap().object, None);
        }
        costs.push([made - begun, given - made, world.provider.requests() - given]);
    }
    assert_eq!(costs[0], costs[1]);
    assert!(costs[0].iter().all(|cost| *cost <= 27), "{costs:?}");
}
