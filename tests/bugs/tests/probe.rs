#[test]
fn probe() {
    use agent_iac::testing::storm::Storm;
    if let Ok(storm) = std::env::var("S") {
        let storm: Storm = storm.parse().unwrap();
        let report = if std::env::var("SHRINK").is_ok() {
            storm.keeping(200).shrink()
        } else {
            storm.keeping(400).play()
        };
        println!("{report}");
        return;
    }
    let from: u64 = std::env::var("FROM").map_or(0, |t| t.parse().unwrap());
    let n: u64 = std::env::var("N").map_or(50, |t| t.parse().unwrap());
    let begun = std::time::Instant::now();
    let mut bad = 0;
    let mut tally = agent_iac::testing::storm::Tally::default();
    for seed in from..from + n {
        let report = Storm::of(seed).play();
        tally.add(&report.tally);
        if !report.violations.is_empty() {
            bad += 1;
            println!("{seed}: {}", report.violations[0]);
        }
    }
    println!("{tally}");
    println!("{bad} bad, {:?}", begun.elapsed());
}
