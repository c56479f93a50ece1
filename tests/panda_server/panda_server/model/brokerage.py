"""Where a task's jobs go, and the log that says why nowhere."""

from typing import TYPE_CHECKING

from panda_server.model.entities import Task

if TYPE_CHECKING:
    from panda_server.model.world import World


def choose(world: "World", task: Task) -> str | None:
    """The queue for the task's next jobs; None when there is none, with a log and a dialog."""
    told = task.attributes
    preassigned = told["site"] in world.queues.by_name
    lines = [f"jediTaskID={task.id} start", f"cloud={told['cloud']} site={told['site']}"]
    left = []
    for queue in world.queues.candidates(told["cloud"], told["site"]):
        if queue.status != "online" and not preassigned:
            lines.append(f"  skip {queue.name} due to status={queue.status}")
        elif task.parameters.get("PandaSite") not in (None, "", queue.site):
            wrong = f"{queue.site} <> {task.parameters['PandaSite']}"
            lines.append(f"  skip {queue.name} due to wrong PandaSite={wrong}")
        elif queue.max_time and told["walltime"] and told["walltime"] > queue.max_time:
            limit = f"{queue.max_time}(site upper limit) < {told['walltime']}"
            lines.append(f"  skip {queue.name} due to short site walltime={limit}")
        elif told["ramCount"] and told["ramCount"] > queue.max_rss:
            limit = f"{queue.max_rss} less than {told['ramCount']}"
            lines.append(f"  skip {queue.name} due to site RAM shortage. site_maxrss={limit}")
        else:
            left.append(queue)
    if left and task.stuck != "brokerage":
        loads = {queue.name: 0 for queue in left}
        for job in world.active.values():
            if job.site in loads:
                loads[job.site] += 1
        return min(loads, key=lambda name: loads[name])
    lines.append("no candidates")
    world.jedi_logs[str(task.id)] = "\n".join(lines) + "\n"
    link = f'<a href="{world.url}/cache/jedilog/{task.id}">log</a>'
    said = f"{link} : {lines[-2].strip()}. no candidates."
    if world.jedi_log_error:
        said = f"failed to write log with {world.jedi_log_error}"
    task.error = f"{said} brokerage failed for 1 input datasets when trying 1 datasets."
    return None
