use super::*;

#[test]
fn a_storm_is_read_as_it_is_printed() {
    for text in ["7", "7/events=0,3", "7/faults=1", "7/events=0,3/faults=1,2"] {
        assert_eq!(text.parse::<Storm>().unwrap().to_string(), text);
    }
    for text in ["", "x", "7/events", "7/events=", "7/others=1", "7/faults=1,x"] {
        assert!(text.parse::<Storm>().is_err(), "{text}");
    }
}

#[test]
fn a_seed_played_twice_leaves_the_same_trace() {
    for seed in 0..5 {
        let (one, two) = (Storm::of(seed).play(), Storm::of(seed).play());
        assert_eq!(one.trace, two.trace, "{one}");
        assert_eq!(one.tally, two.tally);
        assert!(one.trace.count() > 0);
    }
}
