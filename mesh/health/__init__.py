"""Is the mesh healthy? What clusters report is read into frozen models (`read`, `probes`), and judged without asking
anything further (`tunnel`, `site`, `data_path`, `report`).

The custom resources are read, never subctl's text or exit code: `subctl show` ends with 0 where nothing is installed
and where a connection is in error (facts: submariner.md 7).
"""
