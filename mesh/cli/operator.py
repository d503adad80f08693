"""`mesh operator`: manifests for the Pulumi Kubernetes Operator."""

from typing import Annotated

import typer

from mesh.cli.output import CommandError
from mesh.cli.project import plan_file
from mesh.fleet.errors import FleetError
from mesh.fleet.stacks import load

PROGRAM_DIR = "/opt/multi-cluster-mesh"


def command(
    image: Annotated[
        str, typer.Option("--image", help="Image of the workspace pods: pulumi, Python 3.11+ and subctl. You build it.")
    ],
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only",
            metavar="CLUSTER[,CLUSTER]",
            help="Only the stacks of these clusters. Unset: all.",
            show_default=False,
        ),
    ] = None,
    namespace: Annotated[str, typer.Option("--namespace", help="Namespace of everything; has to exist.")] = "mesh",
    secret: Annotated[
        str,
        typer.Option(
            "--secret", help="Secret that becomes Pulumi's environment: backend URL, passphrase, credentials."
        ),
    ] = "mesh-pulumi",  # noqa: S107 a name
    service_account: Annotated[
        str, typer.Option("--service-account", help="ServiceAccount of the workspace pods; it is made.")
    ] = "mesh",
    git_repo: Annotated[
        str | None,
        typer.Option(
            "--git-repo", metavar="URL", help="Repository to fetch the project from. Unset: it is in the image."
        ),
    ] = None,
    git_ref: Annotated[
        str,
        typer.Option(
            "--git-ref", help="Commit (40 digits) or branch. With a commit, members wait for the broker's stack."
        ),
    ] = "main",
    git_dir: Annotated[str, typer.Option("--git-dir", help="Folder of the project in the repository.")] = "",
    git_secret: Annotated[
        str | None,
        typer.Option("--git-secret", help="Secret with an accessToken for the repository.", show_default=False),
    ] = None,
    program_dir: Annotated[
        str, typer.Option("--program-dir", help="Folder of the project in the image, without --git-repo.")
    ] = PROGRAM_DIR,
    organization: Annotated[
        str | None, typer.Option("--organization", help="Organization in Pulumi Cloud.", show_default=False)
    ] = None,
    resync: Annotated[
        int, typer.Option("--resync", min=60, metavar="SECONDS", help="How often drift is looked for and put right.")
    ] = 3600,
    look_only: Annotated[
        bool, typer.Option("--look-only", help="Never change anything: preview, and fail where something differs.")
    ] = False,
    destroy_on_delete: Annotated[
        bool, typer.Option("--destroy-on-delete", help="Let a cluster leave when its manifest is deleted.")
    ] = False,
) -> None:
    """Print manifests for the Pulumi Kubernetes Operator (v2): a Stack per stack, members after the broker's.

    Nothing secret is in them; the first lines say which Secrets to make. docs/operator.md has more.

    \b
        python -m mesh operator --image registry.example/mesh:1 --git-repo https://git.example/mesh.git \\
          --git-ref "$(git rev-parse HEAD)" | kubectl apply -f -

    With an operator in every site, name the site's cluster (--only): its Stack then waits for no other, and the state
    backend is all that the sites share.
    """
    import yaml

    from mesh.operator import Git, Settings, manifests, preparation

    if look_only and destroy_on_delete:
        raise CommandError("--look-only changes nothing, so there is nothing that --destroy-on-delete could destroy.")
    settings = Settings(
        image=image,
        source=Git(git_repo, git_ref, git_dir, git_secret) if git_repo else program_dir,
        namespace=namespace,
        secret=secret,
        service_account=service_account,
        organization=organization,
        resync_seconds=resync,
        look_only=look_only,
        destroy=destroy_on_delete,
    )
    try:
        fleet = load(plan_file(None).parent)
        stacks = fleet.select([name.strip() for given in only or () for name in given.split(",") if name.strip()])
        documents = manifests(fleet, stacks, settings)
    except FleetError as error:
        raise CommandError(str(error)) from None
    typer.echo("# Made by `python -m mesh operator`. What it refers to and is secret has to be there:")
    for line in preparation(stacks, settings):
        typer.echo(f"#   {line}")
    for document in documents:
        typer.echo("---")
        typer.echo(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=120), nl=False)
