"""The client against the contract server: what it sends, and what it makes of odd answers."""

import gzip
import json
from collections.abc import AsyncIterator

import pytest
from panda_place import PandaPlace

from cmd_panda.faults import Kind, PandaFault
from cmd_panda.server import PandaServer, since_text

RECORDED = "idds-legacy-submit"


@pytest.fixture
async def server(still: PandaPlace) -> AsyncIterator[PandaServer]:
    made = PandaServer(still.settings(), still.host.now)
    yield made
    await made.close()


def submitted_request(place: PandaPlace) -> int:
    """A request as `bps submit` made it."""
    file = place.recordings / "bps_submit.json"
    exchanges = json.loads(file.read_text())["exchanges"]
    body = next(each["request"]["body"] for each in exchanges if each["command"] == "submit")
    answer = place.relay(gzip.compress(json.dumps(body).encode()))
    assert answer[0] is True, answer
    return int(answer[1])


async def test_it_knows_who_it_is(server: PandaServer) -> None:
    await server.greet()
    assert await server.whoami() == "Test User"


async def test_a_production_origin_in_vain_is_a_missing_role(still: PandaPlace) -> None:
    text = '{"success": true, "message": "", "data": {"is_production_user": false}}'
    still.server.faults.errors("*/get_user_attributes", 200, text)
    server = PandaServer(still.settings(), still.host.now)
    with pytest.raises(PandaFault) as caught:
        await server.greet()
    assert caught.value.kind is Kind.ROLE
    await server.close()


async def test_a_moment_is_written_as_the_server_reads_it(server: PandaServer) -> None:
    """With a T in it, the call fails."""
    assert since_text(1_795_368_026_999_999) == "2026-11-22 17:20:26"
    assert await server.tasks_since(0, 10) == ([], False)


async def test_requests_one_or_all(still: PandaPlace, server: PandaServer) -> None:
    first, second = submitted_request(still), submitted_request(still)
    (one,) = await server.requests(first, detail=False)
    assert (one.id, one.status) == (first, "New")
    assert await server.requests(999_999) == []
    every = await server.requests(None, detail=False)
    assert {each.name for each in every} == {one.name}, "twice the same workflow has one name"
    assert first != second


async def test_aborting_requests(still: PandaPlace, server: PandaServer) -> None:
    request = submitted_request(still)
    await server.command_request("abort", request)
    with pytest.raises(PandaFault) as unknown:
        await server.command_request("abort", 999_999)
    assert unknown.value.kind is Kind.GONE
    still.token_file.write_text(still.server.issuer.other(still.server.world.clock))
    stranger = PandaServer(still.settings(origin="Rubin"), still.host.now)
    with pytest.raises(PandaFault) as foreign:
        await stranger.command_request("abort", request)
    assert foreign.value.kind is Kind.ROLE
    await stranger.close()


async def test_relayed_changes_may_be_lost(still: PandaPlace, server: PandaServer) -> None:
    request = submitted_request(still)
    still.server.faults.lose_answers("*", command="abort")
    with pytest.raises(PandaFault) as caught:
        await server.command_request("abort", request)
    assert caught.value.kind is Kind.LOST


async def test_inputs_and_jobs_of_what_is_not_there(server: PandaServer) -> None:
    assert await server.inputs(999_999) == []
    assert await server.jobs(999_999) == []
    assert await server.task(999_999) is None
    assert await server.task_parameters(999_999) is None


async def test_inputs_tell_their_state(still: PandaPlace, server: PandaServer) -> None:
    still.server.pilot.fail("b")
    task = still.submit_outside(still.order(), nFiles=2, pfnList=["a", "b"])
    still.advance(120)
    states = {file.name.partition(":")[2]: file.status for file in await server.inputs(task)}
    assert states["a"] == "finished"
    assert states["b"] != "finished"


async def test_a_task_of_a_former_name_that_is_over_runs_again(
    still: PandaPlace, server: PandaServer
) -> None:
    """Why the name is looked up before each submission: PanDA would start it anew."""
    from cmd_panda.tasks import parameters_of

    told = parameters_of(still.order(), still.settings())
    first = await server.submit_task(told)
    assert await server.submit_task(told) == first, "queued: code 1"
    still.advance(5)
    assert await server.submit_task(told) == first, "active: code 2"
    still.advance(200)
    assert await server.submit_task(told) == first, "over: code 3, success, and its id in the words"


async def test_unknown_fields_do_no_harm_and_missing_ones_are_told(
    still: PandaPlace, server: PandaServer
) -> None:
    text = '{"success": true, "message": "", "data": [{"jediTaskID": 1}]}'
    still.server.faults.errors("*/get_tasks_detailed_info_since", 200, text)
    with pytest.raises(PandaFault, match="taskName"):
        await server.tasks_since(0, 10)
    text = (
        '{"success": true, "message": "", "data": [{"jediTaskID": 1, "taskName": "x", '
        '"status": "running", "nFiles": null, "aNewField": {"x": 1}, "stateChangeTime": "?"}]}'
    )
    still.server.faults.errors("*/get_tasks_detailed_info_since", 200, text)
    ((task,), _) = await server.tasks_since(0, 10)
    assert (task.files, task.changed) == (0, None)
