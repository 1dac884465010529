"""What may a field of the book's cells hold, besides numbers?"""

from typing import Annotated

from pydantic import Field

from infocap.networks import NETWORKS
from infocap.study.fields import registered

__all__ = ["ImageData", "Network"]

ImageData = Annotated[str, Field(pattern=r"^(mnist|fashion-mnist|cifar10|cifar100|folder:.+)$")]
Network = registered(NETWORKS)
