//! draft
#[path = "../measure.rs"]
mod measure;
mod world;
use self::measure::*;
use agent_iac::clock::block_on;
use std::{error::Error, path::Path};
fn main() -> Result<(), Box<dyn Error>> {
    let a = arguments();
    let words: Vec<&str> = a.iter().map(String::as_str).collect();
    match words[..] {
        ["setup", folder, n] => {
            let (t, ()) = timed(|| world::set_up(Path::new(folder), n.parse().unwrap()))?;
            println!("setup {t:?} cpu {:?} peak {} MB", computed()?, peak_memory()? / 1024);
        }
        ["apply", folder, n] => {
            let d = world::deployment(world::fleet(n.parse()?, false).0, Path::new(folder))?;
            let plan = world::planned(&d)?;
            let c = computed()?;
            let (t, ()) = timed(|| world::apply(&d, &plan))?;
            println!("apply {t:?} cpu {:?} peak {} MB", computed()? - c, peak_memory()? / 1024);
        }
        ["plan", folder, n] => {
            let n: usize = n.parse()?;
            let (t1, f) = timed(|| Ok::<_, Box<dyn Error>>(world::fleet(n, false).0))?;
            println!("declare {t1:?} peak {} kB", peak_memory()?);
            let d = world::deployment(f, Path::new(folder))?;
            let (t2, p) = timed(|| block_on(d.plan(&Default::default())))?;
            println!("plan {t2:?} peak {} kB", peak_memory()?);
            assert!(p.is_clean());
            let (t3, p) = timed(|| agent_iac::plan::SavedPlan::new(p))?;
            println!(
                "digest {t3:?} {} cpu {:?} peak {} kB = {} B/resource",
                p.digest(),
                computed()?,
                peak_memory()?,
                peak_memory()? * 1024 / n as u64
            );
        }
        ["one", folder, n] => {
            let n: usize = n.parse()?;
            let (f, mid) = world::fleet(n, true);
            let d = world::deployment(f, Path::new(folder))?;
            let b = d.blueprint()?;
            let (t2, p) = timed(|| world::planned_for(&d, &b, &mid))?;
            println!("one {t2:?} steps {}", p.plan().steps.len());
        }
        _ => {}
    }
    Ok(())
}
