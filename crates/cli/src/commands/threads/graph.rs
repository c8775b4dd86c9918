//! A thread's checkpoints as a drawing: newest first, a lane for every branch, joined where
//! branches part.

use mnemon::checkpoints::{CheckpointId, CheckpointInfo};

use super::show;

/// Draws checkpoints, which come newest first.
pub(super) fn draw(items: &[CheckpointInfo]) -> String {
    let mut lanes: Vec<Option<CheckpointId>> = Vec::new();
    let mut drawn = Vec::new();
    for info in items {
        let lane = lane_of(&mut lanes, &info.id);
        if let Some(join) = join(&mut lanes, lane, &info.id) {
            drawn.push(join);
        }
        drawn.push(format!("{} {}", row(&lanes, lane), about(info)));
        lanes[lane].clone_from(&info.parent);
        while lanes.last().is_some_and(Option::is_none) {
            lanes.pop();
        }
        drawn.push(format!("{} {}", bars(&lanes), info.id).trim_end().to_owned());
    }
    drawn.join("\n")
}

/// The lane that waits for a checkpoint, or a new one.
fn lane_of(lanes: &mut Vec<Option<CheckpointId>>, id: &CheckpointId) -> usize {
    if let Some(lane) = lanes.iter().position(|waits| waits.as_ref() == Some(id)) {
        return lane;
    }
    if let Some(free) = lanes.iter().position(Option::is_none) {
        return free;
    }
    lanes.push(None);
    lanes.len() - 1
}

/// Ends the other lanes that wait for the same checkpoint: here the branches parted.
fn join(lanes: &mut Vec<Option<CheckpointId>>, lane: usize, id: &CheckpointId) -> Option<String> {
    let ends: Vec<usize> =
        (lane + 1..lanes.len()).filter(|at| lanes[*at].as_ref() == Some(id)).collect();
    let last = *ends.last()?;
    let mut out = String::new();
    for (at, waits) in lanes.iter().enumerate() {
        out.push_str(match at {
            _ if at == lane => "├─",
            _ if at == last => "╯ ",
            _ if ends.contains(&at) => "┴─",
            _ if at > lane && at < last => {
                if waits.is_some() {
                    "┼─"
                } else {
                    "──"
                }
            }
            _ if waits.is_some() => "│ ",
            _ => "  ",
        });
    }
    for at in ends {
        lanes[at] = None;
    }
    while lanes.len() > lane + 1 && lanes.last().is_some_and(Option::is_none) {
        lanes.pop();
    }
    Some(out.trim_end().to_owned())
}

fn row(lanes: &[Option<CheckpointId>], lane: usize) -> String {
    let cell = |(at, waits): (usize, &Option<CheckpointId>)| match waits {
        _ if at == lane => "●",
        Some(_) => "│",
        None => " ",
    };
    let cells: Vec<&str> = lanes.iter().enumerate().map(cell).collect();
    cells.join(" ").trim_end().to_owned()
}

fn bars(lanes: &[Option<CheckpointId>]) -> String {
    let cells: Vec<&str> =
        lanes.iter().map(|waits| if waits.is_some() { "│" } else { " " }).collect();
    let bars = cells.join(" ");
    if bars.is_empty() { " ".to_owned() } else { bars }
}

fn about(info: &CheckpointInfo) -> String {
    show::about([
        Some(info.version.to_string()),
        Some(show::moment(info.created_at)),
        info.superstep.map(|superstep| format!("superstep {superstep}")),
        info.run.as_ref().map(|run| format!("run {run}")),
        Some(show::value(&info.metadata)),
    ])
}

#[cfg(test)]
mod tests {
    use mnemon::checkpoints::Thread;
    use serde_json::json;

    use super::*;

    fn drawn(parents: &[(i64, Option<i64>)]) -> String {
        let id = |n: i64| CheckpointId(format!("c{n}"));
        let items: Vec<CheckpointInfo> = parents
            .iter()
            .map(|(n, parent)| CheckpointInfo {
                thread: Thread::new("t"),
                id: id(*n),
                parent: parent.map(id),
                version: *n,
                superstep: None,
                metadata: json!({}),
                run: None,
                created_at: chrono::DateTime::UNIX_EPOCH,
            })
            .collect();
        let text = draw(&items);
        text.lines().filter(|line| !line.contains(" c")).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_line_is_a_line() {
        assert_eq!(
            drawn(&[(2, Some(1)), (1, None)]),
            "● 2 · 1970-01-01 00:00:00\n● 1 · 1970-01-01 00:00:00"
        );
    }

    #[test]
    fn branches_join_where_they_part() {
        let drawn = drawn(&[(5, Some(4)), (4, Some(2)), (3, Some(2)), (2, Some(1)), (1, None)]);

        let shapes: Vec<&str> =
            drawn.lines().map(|line| line.split(" · ").next().unwrap()).collect();
        assert_eq!(shapes, ["● 5", "● 4", "│ ● 3", "├─╯", "● 2", "● 1"]);
    }

    #[test]
    fn three_branches_join_across_one_that_goes_on() {
        let drawn = drawn(&[(6, Some(1)), (5, Some(2)), (4, Some(1)), (2, None), (1, None)]);

        let shapes: Vec<&str> =
            drawn.lines().map(|line| line.split(" · ").next().unwrap()).collect();
        assert_eq!(shapes, ["● 6", "│ ● 5", "│ │ ● 4", "│ ● │ 2", "├───╯", "● 1"]);
    }
}
