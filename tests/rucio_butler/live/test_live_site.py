"""The site does what tests of the driver will rely on: real bytes, real states, faults on command."""

import pytest
import requests
from rucio.common.exception import RucioException
from rucio_files import Dataset, Ear
from rucio_site import SCOPE, Site, until

pytestmark = pytest.mark.timeout(300)


def test_a_rule_brings_the_files_to_another_facility(rucio: Site) -> None:
    dataset = Dataset(rucio, files=20)
    rule = dataset.becomes(dataset.rule("FRDF_DISK", activity="Production Output"), "OK")
    assert rule["locks_ok_cnt"] == 20
    assert dataset.bytes_at("FRDF_DISK") == dataset.bytes_at("USDF_DISK")
    assert len(dataset.bytes_at("FRDF_DISK")) == 20
    told = list(dataset.client.get_metadata_bulk(dataset.dids, plugin="JSON"))
    assert {one["name"]: one["rubin_sidecar"] for one in told} == dataset.sidecars
    assert {one["rubin_butler"] for one in told} == {"data_product"}


def test_a_file_that_fails_for_ever_makes_the_rule_stuck_until_it_is_boosted(rucio: Site) -> None:
    dataset = Dataset(rucio)
    bad = dataset.names[1]
    rucio.transfers.fault(bad, fail="DESTINATION [28] No space left on device")
    number = dataset.rule("FRDF_DISK")
    rule = dataset.becomes(number, "STUCK")
    assert (rule["locks_ok_cnt"], rule["locks_stuck_cnt"]) == (2, 1)
    assert rule["error"]
    assert "No space left on device" in dataset.error_of(bad, "FRDF_DISK")
    [problem] = dataset.client.examine_replication_rule(number)["transfers"]
    assert problem["name"] == bad
    assert rucio.transfers.faults()[bad]["hit"] == 4
    rucio.transfers.clear()
    dataset.client.update_replication_rule(number, {"boost_rule": True})
    assert dataset.becomes(number, "OK")["locks_ok_cnt"] == 3
    assert dataset.bytes_at("FRDF_DISK") == dataset.bytes_at("USDF_DISK")


def test_a_file_that_fails_three_times_arrives_by_itself(rucio: Site) -> None:
    dataset = Dataset(rucio)
    rucio.transfers.fault(dataset.names[0], fail="TRANSFER [110] timed out", times=3)
    dataset.becomes(dataset.rule("FRDF_DISK"), "OK")
    assert rucio.transfers.faults()[dataset.names[0]]["hit"] == 3


def test_a_corrupt_copy_is_found_out_and_not_left_behind(rucio: Site) -> None:
    dataset = Dataset(rucio)
    rucio.transfers.fault(dataset.names[0], corrupt=True)
    dataset.becomes(dataset.rule("UKDF_DISK"), "STUCK")
    error = dataset.error_of(dataset.names[0], "UKDF_DISK")
    assert "DESTINATION CHECKSUM MISMATCH" in error
    assert sorted(dataset.bytes_at("UKDF_DISK")) == dataset.names[1:]


def test_other_bytes_at_the_source_are_found_out(rucio: Site) -> None:
    dataset = Dataset(rucio)
    path = rucio.path("USDF_DISK", SCOPE, dataset.names[2])
    path.write_bytes(path.read_bytes().swapcase())
    dataset.becomes(dataset.rule("UKDF_DISK"), "STUCK")
    assert "SOURCE CHECKSUM MISMATCH" in dataset.error_of(dataset.names[2], "UKDF_DISK")


def test_a_dataset_goes_to_tape_and_comes_back(rucio: Site) -> None:
    dataset = Dataset(rucio)
    dataset.becomes(dataset.rule("USDF_TAPE"), "OK")
    assert dataset.bytes_at("USDF_TAPE") == dataset.bytes_at("USDF_DISK")
    archived = Dataset(rucio, rse="USDF_TAPE")
    archived.becomes(archived.rule("UKDF_DISK"), "OK")
    assert archived.bytes_at("UKDF_DISK") == archived.bytes_at("USDF_TAPE")


def test_messages_arrive(rucio: Site) -> None:
    ear = Ear(rucio)
    dataset = Dataset(rucio)
    number = dataset.rule("FRDF_DISK", notify="Y")
    dataset.becomes(number, "OK")
    rucio.daemons.round("hermes")

    def mine() -> bool:
        arrived = {
            said["name"] for said in ear.of("transfer-done") if said["name"] in dataset.names
        }
        rules = {said["rule_id"] for said in ear.of("rule_ok")}
        return arrived == set(dataset.names) and number in rules

    until(mine, f"a message for each file and for the rule, in {ear.heard}", 20.0)
    ear.close()


def test_the_server_goes_and_comes_back(rucio: Site) -> None:
    dataset = Dataset(rucio)
    number = dataset.rule("FRDF_DISK")
    rucio.server.process.kill()
    with pytest.raises((RucioException, requests.RequestException)):
        dataset.client.get_replication_rule(number)
    # The daemons talk to the database: transfers go on without the server.
    rucio.daemons.round(rounds=2)
    rucio.server.process.start()
    dataset.becomes(number, "OK")


def test_a_server_that_hangs_is_noticed_by_the_deadline_of_a_call(rucio: Site) -> None:
    hasty = rucio.client(timeout_s=1.0)
    hasty.request_retries = 1
    rucio.server.process.freeze()
    with pytest.raises((RucioException, requests.RequestException)):
        hasty.whoami()
    rucio.server.process.thaw()
    assert hasty.whoami()["account"] == "root"


def test_an_expired_token_is_refused_and_the_client_gets_another(rucio: Site) -> None:
    client = rucio.client()
    assert client.whoami()["account"] == "root"
    old = {"X-Rucio-Auth-Token": client.auth_token}
    rucio.expire_tokens()
    url = f"{rucio.server.url}/accounts/whoami"
    assert requests.get(url, headers=old, timeout=20).status_code == 401
    assert client.whoami()["account"] == "root"


def test_transfers_that_the_service_has_forgotten_are_made_again(rucio: Site) -> None:
    dataset = Dataset(rucio)
    rucio.transfers.fault(dataset.names[0], hold=True)
    number = dataset.rule("FRDF_DISK")
    rucio.daemons.round(rounds=2)
    assert dataset.client.get_replication_rule(number)["state"] == "REPLICATING"
    rucio.transfers.process.kill()
    rucio.transfers.process.start()
    dataset.becomes(number, "OK")


def test_an_expired_rule_leaves_the_bytes_to_the_reaper(rucio: Site) -> None:
    dataset = Dataset(rucio)
    number = dataset.rule("FRDF_DISK")
    dataset.becomes(number, "OK")
    dataset.client.update_replication_rule(number, {"lifetime": 0, "purge_replicas": True})
    rucio.daemons.round()
    assert len(dataset.bytes_at("FRDF_DISK")) == 3
    rucio.daemons.rounds_until(
        lambda: rucio.daemons.round("reaper") and not dataset.bytes_at("FRDF_DISK"), "no bytes"
    )
    assert len(dataset.bytes_at("USDF_DISK")) == 3


def test_rounds_go_by_themselves(rucio: Site) -> None:
    dataset = Dataset(rucio)
    number = dataset.rule("UKDF_DISK")
    rucio.daemons.pace(0.2)
    until(lambda: dataset.client.get_replication_rule(number)["state"] == "OK", "a rule that is OK")
    rucio.daemons.pause()
