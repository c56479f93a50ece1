"""ActiveMQ that speaks STOMP on a loopback port and keeps nothing."""

from pathlib import Path

from services.processes import Process, free_port, listens

from rucio_site.packages import activemq_jar

XML = """\
<beans xmlns="http://www.springframework.org/schema/beans"
  xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"
  xsi:schemaLocation="http://www.springframework.org/schema/beans
    http://www.springframework.org/schema/beans/spring-beans-2.0.xsd
    http://activemq.apache.org/schema/core
    http://activemq.apache.org/schema/core/activemq-core.xsd">
  <broker xmlns="http://activemq.apache.org/schema/core" brokerName="site" useJmx="false"
    persistent="false" dataDirectory="{home}/data">
    <transportConnectors>
      <transportConnector name="stomp" uri="stomp://127.0.0.1:{port}"/>
    </transportConnectors>
  </broker>
</beans>
"""


class Broker:
    """The broker; `process` may be stopped and started again, what it held is then lost."""

    def __init__(self, home: Path, log: Path) -> None:
        jar = activemq_jar()
        self.port = free_port()
        home.mkdir(parents=True, exist_ok=True)
        config = home / "activemq.xml"
        config.write_text(XML.format(home=home, port=self.port))
        argv = ["java", "-Xmx192m", "-XX:+UseSerialGC", f"-Dactivemq.home={jar.parents[1]}"]
        argv += [f"-Dactivemq.base={home}", f"-Dactivemq.conf={home}", f"-Dactivemq.data={home}"]
        argv += ["-jar", str(jar), "start", f"xbean:file:{config}"]
        self.process = Process("ActiveMQ", argv, log, lambda: listens(self.port))
