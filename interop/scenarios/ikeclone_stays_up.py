"""strongSwan deletes the only Child SA of a connection with auto=start: it comes back on the same IKE SA."""

from interop.lab import Lab, expect


def run(lab: Lab) -> None:
    lab.strongswan.start()
    lab.start_ikeclone({"clones": "no", "auto": "start"})
    lab.wait(lambda: lab.ikeclone.traffic(), "the connection, up")
    (before,) = lab.ikeclone.ike_sas()
    (old,) = lab.ikeclone.traffic().values()
    for child in lab.strongswan.children():
        lab.strongswan.terminate_child(child.number)
    lab.wait(lambda: [row for row in lab.ikeclone.traffic().values() if row.serial != old.serial], "another Child SA")
    # It is listed a moment before the data plane has it.
    lab.wait(lambda: lab.ping(patience=1) == 2, "replies")
    expect("IKE SAs", [sa.serial for sa in lab.ikeclone.ike_sas()], [before.serial])
