import java.io.ByteArrayInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * Posts one file with the client as it comes, which offers to upgrade to HTTP/2: with a declared length, in chunks, and
 * waiting for 100 (Continue). Arguments: URL, media type, file. Prints a status and a body for each.
 */
public class Post {
    public static void main(String[] arguments) throws Exception {
        byte[] body = Files.readAllBytes(Path.of(arguments[2]));
        for (String kind : new String[] {"length", "chunks", "continue"}) {
            // A new client has a new connection, and makes the offer again.
            var client = HttpClient.newHttpClient();
            var publisher = kind.equals("chunks")
                    ? BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(body))
                    : BodyPublishers.ofByteArray(body);
            for (int time = 0; time < 2; time++) {
                var request = HttpRequest.newBuilder(URI.create(arguments[0]))
                        .header("content-type", arguments[1])
                        .expectContinue(kind.equals("continue"))
                        .POST(publisher)
                        .build();
                var response = client.send(request, BodyHandlers.ofString());
                System.out.println(kind + " " + response.statusCode() + " " + response.body());
            }
        }
    }
}
